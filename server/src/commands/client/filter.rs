//! Which connections CLIENT LIST shows and CLIENT KILL closes: conditions that all have to hold, each of which may be
//! turned round by `NOT-`.
//!
//! ```text
//!   ID 3 4 NOT-TYPE pubsub IDLE 60   ──>   one of 3, 4 · not (a subscriber) · silent for a minute · not ourselves
//! ```
//! An option that is named again replaces what it said before; ids are added.

use super::SYNTAX_ERROR;
use super::line::{CAPABILITIES, FLAGS, capabilities, flags};
use crate::core::connection::Connection;
use std::collections::BTreeSet;
use std::mem::discriminant;
use torc_engine::command::{CommandError, parse_integer};

/// What a client is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Sends commands.
    Normal,
    /// The server that this one replicates.
    Primary,
    /// A server that replicates this one.
    Replica,
    /// Has subscribed.
    PubSub,
}

impl ClientKind {
    fn of(connection: &Connection) -> Self {
        if connection.is_subscriber() { Self::PubSub } else { Self::Normal }
    }

    fn parse(name: &[u8]) -> Result<Self, CommandError> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Self::Normal),
            b"master" | b"primary" => Ok(Self::Primary),
            b"slave" | b"replica" => Ok(Self::Replica),
            b"pubsub" => Ok(Self::PubSub),
            _ => Err(CommandError::echo("ERR Unknown client type '", name, "'")),
        }
    }
}

/// What is asked of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// Its id is one of these.
    Ids(BTreeSet<u64>),
    /// The client's end.
    Address(Box<[u8]>),
    /// The same without its port.
    Ip(Box<[u8]>),
    /// Our end.
    LocalAddress(Box<[u8]>),
    /// Its kind.
    Kind(ClientKind),
    /// The name of its user.
    User(Box<[u8]>),
    /// Its name.
    Name(Box<[u8]>),
    /// The name of its library.
    LibraryName(Box<[u8]>),
    /// The version of its library.
    LibraryVersion(Box<[u8]>),
    /// The database that it has selected.
    Database(u32),
    /// It has all of these flags.
    Flags(Box<[u8]>),
    /// It is able to do all of this.
    Capabilities(Box<[u8]>),
    /// At least so old.
    AgeMin(u64),
    /// Silent for at least so long.
    IdleMin(u64),
}

impl Condition {
    fn holds(&self, connection: &Connection, now_ns: u64) -> bool {
        let Connection { ends, session, figures, .. } = connection;
        let seconds_since = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000_000;
        match self {
            Self::Ids(ids) => ids.contains(&connection.id),
            Self::Address(address) => **address == *ends.peer.as_bytes(),
            Self::Ip(ip) => **ip == *without_port(&ends.peer).as_bytes(),
            Self::LocalAddress(address) => **address == *ends.local.as_bytes(),
            Self::Kind(kind) => *kind == ClientKind::of(connection),
            Self::User(name) => *name == session.access.user().name,
            Self::Name(name) => *name == session.name,
            Self::LibraryName(name) => *name == session.library_name,
            Self::LibraryVersion(version) => *version == session.library_version,
            Self::Database(database) => *database == session.client.database,
            Self::Flags(wanted) => has_all(&flags(connection), wanted),
            Self::Capabilities(wanted) => has_all(capabilities(connection), wanted),
            Self::AgeMin(age_s) => seconds_since(figures.created_ns) >= *age_s,
            Self::IdleMin(idle_s) => seconds_since(figures.active_ns) >= *idle_s,
        }
    }
}

fn has_all(letters: &str, wanted: &[u8]) -> bool {
    wanted.iter().all(|letter| letters.as_bytes().contains(letter))
}

/// The address without its port, and without the brackets around one of IPv6.
fn without_port(end: &str) -> &str {
    let address = end.rsplit_once(':').map_or(end, |(address, _)| address);
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}

/// Conditions that all have to hold; none set fits everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Each with whether it is to hold.
    conditions: Vec<(bool, Condition)>,
    /// Not this one.
    skip_id: Option<u64>,
}

/// What is known where a filter is parsed.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// Who asks.
    pub id: u64,
    /// How many databases there are.
    pub databases: usize,
    /// Tells names of users.
    pub is_user: &'a dyn Fn(&[u8]) -> bool,
}

impl ClientFilter {
    /// The connection with this address, which is the old form of CLIENT KILL.
    pub(super) fn of_address(address: &[u8]) -> Self {
        Self { conditions: vec![(true, Condition::Address(address.into()))], skip_id: None }
    }

    /// The connection with this id.
    pub fn of_id(id: u64) -> Self {
        Self { conditions: vec![(true, Condition::Ids(BTreeSet::from([id])))], skip_id: None }
    }

    /// The arguments of CLIENT LIST behind its name.
    pub(super) fn parse_list(arguments: &[&[u8]], asker: Asker<'_>) -> Result<Self, CommandError> {
        // An id that nobody can have fits nobody.
        let id = |text: &[u8]| {
            let id = parse_integer(text).ok_or("ERR Invalid client ID")?;
            Ok(u64::try_from(id).unwrap_or_default())
        };
        Self::parse(arguments, asker, false, id)
    }

    /// The arguments of the new form of CLIENT KILL behind its name; it spares the caller unless told otherwise.
    pub(super) fn parse_kill(arguments: &[&[u8]], asker: Asker<'_>) -> Result<Self, CommandError> {
        let id = |text: &[u8]| {
            let id = parse_integer(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            id.ok_or_else(|| "ERR client-id should be greater than 0".into())
        };
        Self::parse(arguments, asker, true, id)
    }

    fn parse(
        arguments: &[&[u8]],
        asker: Asker<'_>,
        mut skips_asker: bool,
        parse_id: impl Fn(&[u8]) -> Result<u64, CommandError>,
    ) -> Result<Self, CommandError> {
        let mut filter = Self::default();
        let mut rest = arguments;
        while let [option, value, after @ ..] = rest {
            rest = after;
            let option = option.to_ascii_lowercase();
            if option == b"skipme" {
                skips_asker = yes_or_no(value)?;
                continue;
            }
            let (holds, name) = option.strip_prefix(b"not-").map_or((true, &*option), |name| (false, name));
            if name == b"id" {
                let mut ids = BTreeSet::from([parse_id(value)?]);
                // More may follow; the next word that is no number is the next option.
                while let [value, after @ ..] = rest
                    && parse_integer(value).is_some()
                {
                    ids.insert(parse_id(value)?);
                    rest = after;
                }
                filter.set(holds, Condition::Ids(ids));
            } else {
                filter.set(holds, parse_condition(name, holds, value, asker)?);
            }
        }
        if !rest.is_empty() {
            return Err(SYNTAX_ERROR.into());
        }
        filter.skip_id = skips_asker.then_some(asker.id);
        Ok(filter)
    }

    fn set(&mut self, holds: bool, condition: Condition) {
        let is_same = |(other, before): &&mut (bool, Condition)| {
            *other == holds && discriminant(before) == discriminant(&condition)
        };
        match (self.conditions.iter_mut().find(is_same), condition) {
            (Some((_, Condition::Ids(before))), Condition::Ids(ids)) => before.extend(ids),
            (Some((_, before)), condition) => *before = condition,
            (None, condition) => self.conditions.push((holds, condition)),
        }
    }

    /// Whether it fits.
    pub fn fits(&self, connection: &Connection, now_ns: u64) -> bool {
        self.skip_id != Some(connection.id)
            && self.conditions.iter().all(|(holds, condition)| condition.holds(connection, now_ns) == *holds)
    }
}

fn yes_or_no(text: &[u8]) -> Result<bool, CommandError> {
    match text {
        _ if text.eq_ignore_ascii_case(b"yes") => Ok(true),
        _ if text.eq_ignore_ascii_case(b"no") => Ok(false),
        _ => Err(SYNTAX_ERROR.into()),
    }
}

/// An option without its `NOT-`, and what follows it.
fn parse_condition(name: &[u8], holds: bool, value: &[u8], asker: Asker<'_>) -> Result<Condition, CommandError> {
    Ok(match name {
        b"addr" => Condition::Address(value.into()),
        b"ip" => Condition::Ip(value.into()),
        b"laddr" => Condition::LocalAddress(value.into()),
        b"name" => Condition::Name(value.into()),
        b"lib-name" => Condition::LibraryName(value.into()),
        b"lib-ver" => Condition::LibraryVersion(value.into()),
        b"type" => Condition::Kind(ClientKind::parse(value)?),
        b"user" if (asker.is_user)(value) => Condition::User(value.into()),
        b"user" => return Err(CommandError::echo("ERR No such user '", value, "'")),
        b"db" => Condition::Database(parse_database(value, holds, asker.databases)?),
        b"flags" => Condition::Flags(parse_letters("flags", value, holds, FLAGS)?),
        b"capa" => Condition::Capabilities(parse_letters("capa", value, holds, CAPABILITIES)?),
        b"maxage" if holds => Condition::AgeMin(parse_seconds("maxage", value)?),
        b"idle" if holds => Condition::IdleMin(parse_seconds("idle", value)?),
        _ => return Err(SYNTAX_ERROR.into()),
    })
}

fn parse_seconds(name: &str, text: &[u8]) -> Result<u64, CommandError> {
    let seconds = parse_integer(text).ok_or_else(|| format!("ERR {name} is not an integer or out of range"))?;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| format!("ERR {name} should be greater than 0").into())
}

fn parse_database(text: &[u8], holds: bool, databases: usize) -> Result<u32, CommandError> {
    let name = if holds { "DB" } else { "NOT-DB" };
    let number = parse_integer(text).ok_or_else(|| format!("ERR {name} is not an integer or out of range"))?;
    let number = u32::try_from(number).ok().filter(|number| (*number as usize) < databases);
    number.ok_or_else(|| format!("ERR {name} number should be between 0 and {}", databases - 1).into())
}

fn parse_letters(name: &str, text: &[u8], holds: bool, known: &str) -> Result<Box<[u8]>, CommandError> {
    if has_all(known, text) {
        return Ok(text.into());
    }
    let filter = if holds { "provided".to_owned() } else { format!("NOT-{}", name.to_ascii_uppercase()) };
    Err(CommandError::echo(&format!("ERR Unknown {name} found in the {filter} filter: "), text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Asker<'_> = Asker { id: 9, databases: 16, is_user: &|name| name == b"default" };

    fn words(text: &str) -> Vec<&[u8]> {
        text.split_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn options_in_any_order_and_many_ids() {
        let filter =
            ClientFilter::parse_kill(&words("ID 3 4 addr 1.2.3.4:5 NOT-TYPE replica id 7 idle 7 IDLE 8"), ASKER);
        let conditions = vec![
            (true, Condition::Ids(BTreeSet::from([3, 4, 7]))),
            (true, Condition::Address(b"1.2.3.4:5"[..].into())),
            (false, Condition::Kind(ClientKind::Replica)),
            (true, Condition::IdleMin(8)),
        ];
        assert_eq!(filter, Ok(ClientFilter { conditions, skip_id: Some(9) }));
        assert_eq!(ClientFilter::parse_kill(&words("skipme no"), ASKER), Ok(ClientFilter::default()));
        assert_eq!(ClientFilter::parse_list(&[], ASKER), Ok(ClientFilter::default()));
    }

    #[test]
    fn errors_read_as_in_the_real_server() {
        for (text, error) in [
            ("id x", "ERR client-id should be greater than 0"),
            ("id 0", "ERR client-id should be greater than 0"),
            ("not-id 3 -1", "ERR client-id should be greater than 0"),
            ("type x", "ERR Unknown client type 'x'"),
            ("user x", "ERR No such user 'x'"),
            ("skipme x", "ERR syntax error"),
            ("not-skipme yes", "ERR syntax error"),
            ("foo bar", "ERR syntax error"),
            ("id 1 addr", "ERR syntax error"),
            ("maxage x", "ERR maxage is not an integer or out of range"),
            ("maxage 0", "ERR maxage should be greater than 0"),
            ("not-maxage 1", "ERR syntax error"),
            ("idle x", "ERR idle is not an integer or out of range"),
            ("idle -1", "ERR idle should be greater than 0"),
            ("not-idle 1", "ERR syntax error"),
            ("db x", "ERR DB is not an integer or out of range"),
            ("db 16", "ERR DB number should be between 0 and 15"),
            ("not-db -1", "ERR NOT-DB number should be between 0 and 15"),
            ("flags Nz", "ERR Unknown flags found in the provided filter: Nz"),
            ("not-flags z", "ERR Unknown flags found in the NOT-FLAGS filter: z"),
            ("capa rz", "ERR Unknown capa found in the provided filter: rz"),
            ("not-capa z", "ERR Unknown capa found in the NOT-CAPA filter: z"),
        ] {
            assert_eq!(ClientFilter::parse_kill(&words(text), ASKER), Err(error.into()), "{text}");
        }
        for (text, error) in [("x", "ERR syntax error"), ("id", "ERR syntax error"), ("id x", "ERR Invalid client ID")]
        {
            assert_eq!(ClientFilter::parse_list(&words(text), ASKER), Err(error.into()), "{text}");
        }
    }

    #[test]
    fn an_address_has_a_port() {
        for (end, address) in [("1.2.3.4:5", "1.2.3.4"), ("[::1]:5", "::1"), ("/run/torc.sock:0", "/run/torc.sock")] {
            assert_eq!(without_port(end), address);
        }
    }
}
