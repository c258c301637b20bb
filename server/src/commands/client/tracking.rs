//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR: how a connection that keeps copies of values hears of changes.

use super::{SYNTAX_ERROR, on_or_off};
use crate::control::{ControlReply, ControlRequest};
use crate::core::connection::Connection;
use crate::core::session::{Session, SessionResult};
use crate::core::tracking::{Choice, Tracking};
use torc_engine::command::{CommandError, parse_integer};
use torc_engine::reply::ReplyBuffer;

/// What CLIENT TRACKING ON asks for.
#[derive(Debug, Default)]
struct Wish {
    tracking: Tracking,
    redirect_id: Option<u64>,
    prefixes: Vec<Box<[u8]>>,
    opts_in: bool,
    opts_out: bool,
}

const NO_REDIRECTION: &str = "ERR The client ID you want redirect to does not exist";

impl Wish {
    fn parse(arguments: &[&[u8]]) -> Result<Self, CommandError> {
        let mut wish = Self::default();
        let mut rest = arguments;
        while let [option, after @ ..] = rest {
            rest = after;
            match (option.to_ascii_lowercase().as_slice(), after) {
                (b"redirect", [id, after @ ..]) => {
                    if wish.redirect_id.is_some() {
                        return Err("ERR A client can only redirect to a single other client".into());
                    }
                    let id = parse_integer(id).ok_or("ERR value is not an integer or out of range")?;
                    // An id that nobody can have is looked for in vain.
                    wish.redirect_id = Some(u64::try_from(id).unwrap_or(u64::MAX));
                    rest = after;
                }
                (b"prefix", [prefix, after @ ..]) => {
                    wish.prefixes.push((*prefix).into());
                    rest = after;
                }
                (b"bcast", _) => wish.tracking.is_broadcast = true,
                (b"optin", _) => wish.opts_in = true,
                (b"optout", _) => wish.opts_out = true,
                (b"noloop", _) => wish.tracking.no_loop = true,
                _ => return Err(SYNTAX_ERROR.into()),
            }
        }
        Ok(wish)
    }

    /// Checks what was asked for, also against what is in force.
    fn check(mut self, connection: &Connection) -> Result<Self, CommandError> {
        let before = connection.tracking();
        if !self.tracking.is_broadcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if before.is_some_and(|before| before.is_broadcast != self.tracking.is_broadcast) {
            return Err("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                        re-enabling it with a different mode."
                .into());
        }
        if self.tracking.is_broadcast && (self.opts_in || self.opts_out) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.opts_in && self.opts_out {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        let is = |choice: Choice| before.is_some_and(|before| before.choice == choice);
        if (self.opts_in && is(Choice::OptOut)) || (self.opts_out && is(Choice::OptIn)) {
            return Err("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                        re-enabling it with a different mode."
                .into());
        }
        if self.tracking.is_broadcast {
            self.check_prefixes(before)?;
        }
        self.tracking.choice = match (self.opts_in, self.opts_out) {
            (true, _) => Choice::OptIn,
            (_, true) => Choice::OptOut,
            _ => Choice::All,
        };
        Ok(self)
    }

    /// No prefix may begin with another one: a change would be told twice.
    fn check_prefixes(&mut self, before: Option<&Tracking>) -> Result<(), CommandError> {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let refuse = |one: &[u8], which: &str, other: &[u8]| {
            let parts: [&[u8]; 6] = [b"ERR Prefix '", one, b"' overlaps with ", which.as_bytes(), b" '", other];
            let end = b"'. Prefixes for a single client must not overlap.";
            Err(CommandError::from([&parts.concat()[..], end].concat()))
        };
        for (index, prefix) in self.prefixes.iter().enumerate() {
            let existing = before.and_then(|before| before.prefixes.iter().find(|other| overlap(prefix, other)));
            if let Some(other) = existing {
                return refuse(prefix, "an existing prefix", other);
            }
            if let Some(other) = self.prefixes[index + 1..].iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided prefix", other);
            }
        }
        self.tracking.prefixes = self.prefixes.drain(..).collect();
        // Without any, it hears of all keys.
        if self.tracking.prefixes.is_empty() && before.is_none_or(|before| before.prefixes.is_empty()) {
            self.tracking.prefixes.insert(Box::default());
        }
        Ok(())
    }
}

/// `CLIENT TRACKING ON|OFF [REDIRECT id] [PREFIX p ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub(super) fn tracking(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let mut wish = Wish::parse(&arguments[3..])?;
    let is_on = on_or_off(arguments[2])?;
    let Some(id) = wish.redirect_id else {
        let changes = if is_on {
            wish = wish.check(session.connection)?;
            session.core.begin_tracking(session.connection, wish.tracking)
        } else {
            session.core.end_tracking(session.connection)
        };
        let mut out = ReplyBuffer::default();
        out.bytes.extend_from_slice(b"+OK\r\n");
        session.core.announce(changes, Some((session.connection, out)));
        return Ok(());
    };
    // Whoever it is stays where it is from now on; meanwhile this connection's next commands wait.
    let key = session.connection.key;
    session.connection.waits_for_answers = true;
    session.ask_all(
        ControlRequest::FindRedirection { id },
        Box::new(move |core, answers, reply| {
            let mut found = answers.into_iter().filter_map(|answer| match answer {
                ControlReply::Redirection(found) => found,
                _ => None,
            });
            let (Some(redirection), Some(connection)) = (found.next(), core.connection_mut(key)) else {
                return reply.error(NO_REDIRECTION);
            };
            if !is_on {
                core.with_connection(key, |core, connection| {
                    let changes = core.end_tracking(connection);
                    core.announce(changes, None);
                });
                return reply.ok();
            }
            match wish.check(connection) {
                Ok(Wish { mut tracking, .. }) => {
                    tracking.redirection = Some(redirection);
                    core.with_connection(key, |core, connection| {
                        let changes = core.begin_tracking(connection, tracking);
                        core.announce(changes, None);
                    });
                    reply.ok();
                }
                Err(CommandError(text)) => reply.error_bytes(&text),
            }
        }),
    );
    Ok(())
}

/// `CLIENT CACHING YES|NO`
pub(super) fn caching(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let Some(choice) = session.connection.tracking().map(|tracking| tracking.choice) else {
        return Err(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                    enabled"
                .into(),
        );
    };
    match arguments[2] {
        word if word.eq_ignore_ascii_case(b"yes") => {
            if choice != Choice::OptIn {
                return Err("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.".into());
            }
        }
        word if word.eq_ignore_ascii_case(b"no") => {
            if choice != Choice::OptOut {
                return Err("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.".into());
            }
        }
        _ => return Err(SYNTAX_ERROR.into()),
    }
    if let Some(tracking) = session.connection.tracking_mut() {
        tracking.is_next_chosen = true;
        let tracks = tracking.remembers();
        session.connection.session.client.tracks = tracks;
    }
    session.reply().ok();
    Ok(())
}

/// The id that invalidations go to: 0 is the connection itself, -1 nobody.
pub(super) fn redirection(connection: &Connection) -> i64 {
    let id = |tracking: &Tracking| tracking.redirection.map_or(0, |redirection| redirection.id as i64);
    connection.tracking().map_or(-1, id)
}

/// `CLIENT GETREDIR`
pub(super) fn get_redirection(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let id = redirection(session.connection);
    session.reply().integer(id);
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub(super) fn tracking_info(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let id = redirection(session.connection);
    let (mut flags, mut prefixes) = (vec!["off"], Vec::new());
    if let Some(tracking) = session.connection.tracking() {
        let Tracking { choice, is_next_chosen, is_broadcast, no_loop, is_broken, .. } = tracking;
        let listed = [
            (true, "on"),
            (*is_broadcast, "bcast"),
            (*choice == Choice::OptIn, "optin"),
            (*choice == Choice::OptIn && *is_next_chosen, "caching-yes"),
            (*choice == Choice::OptOut, "optout"),
            (*choice == Choice::OptOut && *is_next_chosen, "caching-no"),
            (*no_loop, "noloop"),
            (*is_broken, "broken_redirect"),
        ];
        flags = listed.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect();
        prefixes = tracking.prefixes.iter().cloned().collect();
    }
    let mut reply = session.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.into_iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(id);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.into_iter().for_each(|prefix| reply.bulk(&prefix));
    Ok(())
}
