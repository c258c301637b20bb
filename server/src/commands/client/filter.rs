//! Which connections CLIENT LIST shows and CLIENT KILL closes.

use super::SYNTAX_ERROR;
use crate::core::connection::Connection;
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

/// Conditions that all have to hold; none set fits everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// One of these ids; empty is any.
    pub ids: Vec<u64>,
    /// The client's end.
    pub address: Option<Box<[u8]>>,
    /// Our end.
    pub local_address: Option<Box<[u8]>>,
    /// Its kind.
    pub kind: Option<ClientKind>,
    /// Its name.
    pub name: Option<Box<[u8]>>,
    /// At least so old.
    pub age_min_s: Option<u64>,
    /// Not this one.
    pub skip_id: Option<u64>,
}

impl ClientFilter {
    /// The arguments of CLIENT LIST behind its name.
    pub(super) fn parse_list(arguments: &[&[u8]], own_id: u64) -> Result<Self, CommandError> {
        // An id that nobody can have fits nobody.
        let id = |text: &[u8]| {
            let id = parse_integer(text).ok_or("ERR Invalid client ID")?;
            Ok(u64::try_from(id).unwrap_or_default())
        };
        Self::parse(arguments, own_id, false, id)
    }

    /// The arguments of the new form of CLIENT KILL behind its name; it spares the caller unless told otherwise.
    pub(super) fn parse_kill(arguments: &[&[u8]], own_id: u64) -> Result<Self, CommandError> {
        let id = |text: &[u8]| {
            let id = parse_integer(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            id.ok_or_else(|| "ERR client-id should be greater than 0".into())
        };
        Self::parse(arguments, own_id, true, id)
    }

    fn parse(
        arguments: &[&[u8]],
        own_id: u64,
        mut skip_me: bool,
        parse_id: impl Fn(&[u8]) -> Result<u64, CommandError>,
    ) -> Result<Self, CommandError> {
        let mut filter = Self::default();
        let mut rest = arguments;
        while let [option, value, after @ ..] = rest {
            rest = after;
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    filter.ids.push(parse_id(value)?);
                    // More ids may follow; the next word that is no number is the next option.
                    while let [value, after @ ..] = rest
                        && parse_integer(value).is_some()
                    {
                        filter.ids.push(parse_id(value)?);
                        rest = after;
                    }
                }
                b"addr" => filter.address = Some((*value).into()),
                b"laddr" => filter.local_address = Some((*value).into()),
                b"name" => filter.name = Some((*value).into()),
                b"type" => filter.kind = Some(ClientKind::parse(value)?),
                b"user" if *value == b"default" => {}
                b"user" => return Err(CommandError::echo("ERR No such user '", value, "'")),
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
                b"maxage" => filter.age_min_s = Some(parse_age(value)?),
                _ => return Err(SYNTAX_ERROR.into()),
            }
        }
        if !rest.is_empty() {
            return Err(SYNTAX_ERROR.into());
        }
        filter.skip_id = skip_me.then_some(own_id);
        Ok(filter)
    }

    /// Whether it fits.
    pub fn fits(&self, connection: &Connection, now_ns: u64) -> bool {
        let is = |wanted: &Option<Box<[u8]>>, actual: &[u8]| wanted.as_deref().is_none_or(|wanted| wanted == actual);
        let age_s = now_ns.saturating_sub(connection.figures.created_ns) / 1_000_000_000;
        (self.ids.is_empty() || self.ids.contains(&connection.id))
            && self.skip_id != Some(connection.id)
            && self.kind.is_none_or(|kind| kind == ClientKind::of(connection))
            && self.age_min_s.is_none_or(|age_min_s| age_s >= age_min_s)
            && is(&self.address, connection.ends.peer.as_bytes())
            && is(&self.local_address, connection.ends.local.as_bytes())
            && is(&self.name, &connection.session.name)
    }
}

fn parse_age(text: &[u8]) -> Result<u64, CommandError> {
    let age = parse_integer(text).ok_or("ERR maxage is not an integer or out of range")?;
    u64::try_from(age).ok().filter(|age| *age > 0).ok_or_else(|| "ERR maxage should be greater than 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&[u8]> {
        text.split_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn options_in_any_order_and_many_ids() {
        let filter = ClientFilter::parse_kill(&words("ID 3 4 addr 1.2.3.4:5 TYPE replica maxage 7"), 9);
        assert_eq!(
            filter,
            Ok(ClientFilter {
                ids: vec![3, 4],
                address: Some(b"1.2.3.4:5"[..].into()),
                kind: Some(ClientKind::Replica),
                age_min_s: Some(7),
                skip_id: Some(9),
                ..ClientFilter::default()
            })
        );
        assert_eq!(ClientFilter::parse_kill(&words("skipme no"), 9), Ok(ClientFilter::default()));
        assert_eq!(ClientFilter::parse_list(&[], 9), Ok(ClientFilter::default()));
    }

    #[test]
    fn errors_read_as_in_the_real_server() {
        for (text, error) in [
            ("id x", "ERR client-id should be greater than 0"),
            ("id 0", "ERR client-id should be greater than 0"),
            ("type x", "ERR Unknown client type 'x'"),
            ("user x", "ERR No such user 'x'"),
            ("skipme x", "ERR syntax error"),
            ("foo bar", "ERR syntax error"),
            ("id 1 addr", "ERR syntax error"),
            ("maxage x", "ERR maxage is not an integer or out of range"),
            ("maxage 0", "ERR maxage should be greater than 0"),
        ] {
            assert_eq!(ClientFilter::parse_kill(&words(text), 1), Err(error.into()), "{text}");
        }
        for (text, error) in [("x", "ERR syntax error"), ("id", "ERR syntax error"), ("id x", "ERR Invalid client ID")]
        {
            assert_eq!(ClientFilter::parse_list(&words(text), 1), Err(error.into()), "{text}");
        }
    }
}
