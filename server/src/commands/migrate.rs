//! MIGRATE: its row and what it is told; what it does is in `migrate/`.

use super::SessionCommand;
use crate::core::session::{Session, SessionResult};
use crate::migrate::{Order, Outcome, migrate};
use std::time::Duration;
use torc_engine::command::argument::{block, integer, key, key_of, one_of, string, word};
use torc_engine::command::{
    Arity, BeginSearch, Categories, CommandError, FindKeys, Flags, KeyFinder, KeyFlags, KeySpec, Spec, parse_integer,
};
use torc_engine::reply::Reply;

const USE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[SessionCommand {
    spec: Spec {
        name: "migrate",
        group: "generic",
        since: "2.6.0",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
        own_categories: Categories::KEYSPACE.or(Categories::DANGEROUS),
        keys: &[
            KeySpec::range(USE, 3, 3, 1),
            KeySpec {
                flags: USE.or(KeyFlags::INCOMPLETE),
                begin: BeginSearch::Keyword("KEYS", -2),
                find: FindKeys::Range { last: -1, step: 1, limit: 0 },
                notes: "",
            },
        ],
        key_finder: Some(&KeyFinder::named(named_keys)),
        complexity: "That of DUMP and DEL here, and of RESTORE there, and O(N) for the way",
        summary: "Moves keys to another server",
        arguments: &[
            string("host"),
            integer("port"),
            one_of("key_or_empty_string", &[key("key"), word("").named("empty_string")]),
            integer("destination-db"),
            integer("timeout"),
            word("COPY").optional().since("3.0.0"),
            word("REPLACE").optional().since("3.0.0"),
            one_of(
                "authentication",
                &[
                    string("password").token("AUTH").since("4.0.7").optional(),
                    block("username_password", &[string("username"), string("password")])
                        .token("AUTH2")
                        .since("6.0.0")
                        .optional(),
                ],
            )
            .optional(),
            key_of(1, "key").token("KEYS").optional().multiple().since("3.0.6"),
        ],
        history: &[
            ("3.0.0", "Takes COPY and REPLACE."),
            ("3.0.6", "Takes KEYS."),
            ("4.0.7", "Takes AUTH."),
            ("6.0.0", "Takes AUTH2."),
        ],
        tips: &["nondeterministic_output"],
        ..Spec::BASE
    },
    syntax: "",
    run,
}];

/// One key, or those behind KEYS, which is a password in other places.
fn named_keys(arguments: &[&[u8]], visit: &mut dyn FnMut(usize, KeyFlags)) -> bool {
    let mut index = 6;
    while let Some(word) = arguments.get(index) {
        if word.eq_ignore_ascii_case(b"keys") && arguments[3].is_empty() {
            (index + 1..arguments.len()).for_each(|index| visit(index, USE));
            return true;
        }
        index += 1 + if word.eq_ignore_ascii_case(b"auth") {
            1
        } else {
            2 * usize::from(word.eq_ignore_ascii_case(b"auth2"))
        };
    }
    visit(3, USE);
    true
}

fn parse(arguments: &[&[u8]], from: u32) -> Result<Order, CommandError> {
    /// The longest time limit: some thirty years.
    const TIMEOUT_MS_MAX: i64 = 1_000_000_000_000;
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let mut order = Order { host: arguments[1].to_vec(), port: arguments[2].to_vec(), from, ..Order::default() };
    order.keys = vec![arguments[3].to_vec()];
    let mut rest = &arguments[6..];
    while let [word, more @ ..] = rest {
        rest = more;
        match more {
            _ if is(word, "COPY") => order.copies = true,
            _ if is(word, "REPLACE") => order.replaces = true,
            [password, more @ ..] if is(word, "AUTH") => {
                order.credentials = Some((None, password.to_vec()));
                rest = more;
            }
            [user, password, more @ ..] if is(word, "AUTH2") => {
                order.credentials = Some((Some(user.to_vec()), password.to_vec()));
                rest = more;
            }
            keys if is(word, "KEYS") => {
                if !arguments[3].is_empty() {
                    return Err(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string".into()
                    );
                }
                order.keys = keys.iter().map(|key| key.to_vec()).collect();
                break;
            }
            _ => return Err("ERR syntax error".into()),
        }
    }
    let number = |word| parse_integer(word).ok_or("ERR value is not an integer or out of range");
    let timeout_ms = number(arguments[5])?;
    order.to = number(arguments[4])?;
    let timeout_ms = if timeout_ms <= 0 { 1000 } else { timeout_ms.min(TIMEOUT_MS_MAX) };
    order.timeout = Duration::from_millis(timeout_ms.unsigned_abs());
    Ok(order)
}

fn run(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    const NO_KEY: &str = "NOKEY";
    let order = parse(arguments, session.connection.session.client.database)?;
    if session.core.is_in_unit() {
        return Err("ERR MIGRATE waits for another server, which a transaction may not".into());
    }
    if order.keys.is_empty() {
        session.reply().status(NO_KEY);
        return Ok(());
    }
    let tasks = session.core.tasks.clone();
    session.answer_by_task(async move {
        let text = match migrate(&tasks, order).await {
            Outcome::Done => "OK",
            Outcome::NoKey => NO_KEY,
            Outcome::Failed(text) => return Err(text),
        };
        Ok(move |reply: &mut Reply<'_>| reply.status(text))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Order, CommandError> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        parse(&words, 0)
    }

    fn keys(text: &str) -> Vec<usize> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut keys = Vec::new();
        assert!(named_keys(&words, &mut |index, _| keys.push(index)));
        keys
    }

    #[test]
    fn options_in_any_order_and_keys_at_the_end() {
        let order = parsed("MIGRATE h 1  5 10 replace AUTH2 keys copy COPY KEYS a auth").expect("fits");
        assert!(order.copies && order.replaces);
        assert_eq!(order.credentials, Some((Some(b"keys".to_vec()), b"copy".to_vec())));
        assert_eq!(order.keys, [b"a".to_vec(), b"auth".to_vec()]);
        assert_eq!((order.to, order.timeout), (5, Duration::from_millis(10)));
        assert_eq!(parsed("MIGRATE h 1 k 0 -3").expect("fits").timeout, Duration::from_secs(1));
        for text in ["AUTH", "AUTH2 a", "COPY x", "x"] {
            assert_eq!(parsed(&format!("MIGRATE h 1 k 0 1 {text}")), Err("ERR syntax error".into()), "{text}");
        }
        assert!(parsed("MIGRATE h 1 k 0 1 KEYS a").is_err());
        assert!(parsed("MIGRATE h 1 k x 1").is_err() && parsed("MIGRATE h 1 k 0 x").is_err());
    }

    #[test]
    fn keys_are_found_behind_passwords_that_look_like_options() {
        assert_eq!(keys("MIGRATE h 1 k 0 1 COPY"), [3]);
        assert_eq!(keys("MIGRATE h 1  0 1 KEYS a b"), [7, 8]);
        assert_eq!(keys("MIGRATE h 1  0 1 AUTH keys KEYS a"), [9]);
        assert_eq!(keys("MIGRATE h 1  0 1 AUTH2 keys keys KEYS a"), [10]);
        assert_eq!(keys("MIGRATE h 1 k 0 1 AUTH keys"), [3]);
    }
}
