//! Users at work: the question that a command is asked, what becomes of connections when users change, and what is told of
//! denials.
//!
//! ```text
//!   check ── free ──> the command goes on                                        (one flag, `dispatch`)
//!         └─ not ──> check_access ──> it goes on, or NOPERM, and ACL LOG has it
//!   EXEC ──> the queue is asked again: what is not allowed any more is replaced by its error (`refuse_in_queue`)
//!   a script's calls ──> asked where it runs, for the user whose id came with it; what was denied goes home to be told
//!   new users ──> each connection finds its own by id: gone, it is closed; changed, it has the new rules from now on.
//!                 Subscribers of what they may no longer hear are closed; who waits for a key that it may no longer
//!                 touch is told so
//!   AUTH, HELLO ── address has failed too often ──> an error, and the end; else wrong ──> ACL LOG, and one more of its failures
//! ```
//! A snapshot of users reaches a shard by a multicast. A connection between two shards is seen to by the one that it comes to
//! (`arrive`): it may have left before the old shard met the change, and arrive after the new one did.

use super::Core;
use super::blocked::Over;
use super::connection::{Connection, ConnectionKey, Phase};
use super::multi::Queue;
use crate::access::{Access, Context, Denial, Denied, Origin, Reason, Requested, User, Users};
use crate::command_table::CommandEntry;
use crate::commands::client::client_line;
use crate::control::ControlRequest;
use std::sync::Arc;
use torc_engine::audience::Topic;
use torc_engine::command::{CommandError, Flags};

const NOT_AUTHENTICATED: &str = "NOAUTH Authentication required.";

/// What a client is told of a denial.
fn refusal(denial: Denial, entry: &CommandEntry) -> CommandError {
    match denial {
        Denial::Command => {
            format!("NOPERM this user has no permissions to run the '{}' command", entry.full_name).into()
        }
        Denial::Key(_) => "NOPERM this user has no permissions to access one of the keys used as arguments".into(),
        Denial::Channel(_) => {
            "NOPERM this user has no permissions to access one of the channels used as arguments".into()
        }
        Denial::Database(_) => "NOPERM No permissions to access database".into(),
    }
}

/// The same of a command that could be queued and may not be run.
fn refusal_in_exec(denial: Denial) -> CommandError {
    let reason = match denial {
        Denial::Command => "no permission to execute the command or subcommand",
        Denial::Key(_) => "no permission to touch the specified keys",
        Denial::Channel(_) => "no permission to access one of the channels used as arguments",
        Denial::Database(_) => "no permission to access the database",
    };
    let before = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                  command is no longer allowed for the following reason: ";
    format!("{before}{reason}").into()
}

/// The same of a command that waits. Servers that ask these again have no longer texts.
fn refusal_while_waiting(denial: Denial) -> &'static str {
    match denial {
        Denial::Command => "NOPERM No permissions to run a command",
        Denial::Key(_) => "NOPERM No permissions to access a key",
        Denial::Channel(_) => "NOPERM No permissions to access a channel",
        Denial::Database(_) => "NOPERM No permissions to access database",
    }
}

/// Options of SORT that read keys which its arguments do not name: refused to users who may not read any key.
pub(crate) fn check_found_keys(user: &User, requested: &Requested<'_>) -> Result<(), CommandError> {
    let Requested { entry, arguments, .. } = *requested;
    if !entry.spec.name.starts_with("sort") || user.may_read_any_key(requested) {
        return Ok(());
    }
    let mut rest = arguments.get(2..).unwrap_or_default();
    while let [option, after @ ..] = rest {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        let option_length = match after {
            [pattern, ..] if is("by") && pattern.contains(&b'*') => {
                return Err("ERR BY option of SORT denied due to insufficient ACL permissions.".into());
            }
            [_, ..] if is("get") => {
                return Err("ERR GET option of SORT denied due to insufficient ACL permissions.".into());
            }
            [_, _, ..] if is("limit") => 2,
            [_, ..] if is("by") || is("store") => 1,
            _ => 0,
        };
        rest = &after[option_length..];
    }
    Ok(())
}

fn object_of(denial: Denial, entry: &CommandEntry, arguments: &[&[u8]]) -> Vec<u8> {
    match denial {
        Denial::Command => entry.full_name.as_bytes().to_vec(),
        Denial::Key(index) | Denial::Channel(index) | Denial::Database(index) => arguments[index].to_vec(),
    }
}

impl Denied {
    /// What a user was denied of a command.
    pub(crate) fn of(denial: Denial, requested: &Requested<'_>, context: Context, user: &User) -> Self {
        let object = object_of(denial, requested.entry, requested.arguments);
        Self { reason: Reason::of(denial), context, object, user: user.name.clone() }
    }
}

/// Commands.
impl Core {
    /// Whether a connection that has to be asked may run a command.
    #[cold]
    pub(super) fn check_access(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) -> Result<(), CommandError> {
        let access = &connection.session.access;
        if !access.is_admitted() && !entry.spec.flags.has(Flags::NO_AUTH) {
            return Err(NOT_AUTHENTICATED.into());
        }
        let requested = Requested { entry, arguments, database: connection.session.client.database };
        let user = access.user();
        let is_queued = connection.transaction.is_open();
        let Err(denial) = user.check(&requested) else {
            return if is_queued { Ok(()) } else { check_found_keys(user, &requested) };
        };
        let context = if is_queued { Context::Multi } else { Context::TopLevel };
        let denied = Denied::of(denial, &requested, context, user);
        connection.figures.last_command = Some(entry);
        self.note_denied(connection, denied);
        Err(refusal(denial, entry))
    }

    /// Counts and tells what a connection was denied.
    pub fn note_denied(&self, connection: &Connection, denied: Denied) {
        let client = client_line(connection, self.index, self.clock.monotonic_ns);
        self.tell_denied(denied, client);
    }

    fn tell_denied(&self, denied: Denied, client: Vec<u8>) {
        let entries_max = self.settings.denied_log_entries_max;
        self.shared.access.note_denied(denied, client, self.clock.wall_ms, entries_max);
    }

    /// EXEC: what its client may not run any more is replaced by the error that it gives.
    pub(super) fn refuse_in_queue(&mut self, connection: &Connection, queue: &mut Queue) {
        if connection.session.access.is_free() {
            return;
        }
        let user = connection.session.access.user().clone();
        let database = connection.session.client.database;
        let mut denials = Vec::new();
        queue.replace(self.shared.table.refusal, |entry, arguments| {
            let requested = Requested { entry, arguments, database };
            match user.check(&requested) {
                Ok(()) => check_found_keys(&user, &requested).err(),
                Err(denial) => {
                    denials.push(Denied::of(denial, &requested, Context::Multi, &user));
                    Some(refusal_in_exec(denial))
                }
            }
        });
        denials.into_iter().for_each(|denied| self.note_denied(connection, denied));
    }

    /// The user of an id that came with a command; one who is gone may do nothing. None is asked nothing.
    pub(super) fn user_of_id(&self, id: u64) -> Option<Arc<User>> {
        if id == User::NOBODY {
            return None;
        }
        let gone = || Arc::new(User::new(id, b"", crate::access::AccessSettings::default()));
        Some(self.users.find_id(id).cloned().unwrap_or_else(gone))
    }

    /// A script that has run here was denied something; whose it was is a connection of that shard.
    pub(super) fn tell_script_denials(&mut self, origin: usize, connection: ConnectionKey) {
        let denied = self.scripting.denied.take();
        if denied.is_empty() {
            return;
        }
        if origin == self.index {
            return self.tell_denials(connection, &denied);
        }
        self.instruct_all(ControlRequest::Denied { shard: origin, connection, denied });
    }

    /// The same, of a connection of this shard.
    pub fn tell_denials(&mut self, connection: ConnectionKey, denied: &[Denied]) {
        let (shard, now_ns) = (self.index, self.clock.monotonic_ns);
        let client = self.connection_mut(connection).map(|connection| client_line(connection, shard, now_ns));
        let client = client.unwrap_or_default();
        denied.iter().for_each(|denied| self.tell_denied(denied.clone(), client.clone()));
    }

    /// The same, of the connection at hand.
    pub(super) fn tell_own_script_denials(&self, connection: &Connection) {
        if !self.scripting.denied.borrow().is_empty() {
            self.scripting.denied.take().into_iter().for_each(|denied| self.note_denied(connection, denied));
        }
    }
}

/// Authentications.
impl Core {
    /// Where a connection's failed authentications count for. Not those of this machine: behind a proxy that runs here all
    /// clients have its address, and who administers the server is to get in while others guess.
    fn origin_of(connection: &Connection) -> Option<Origin> {
        if connection.ends.is_loopback || connection.ends.is_unix { None } else { Origin::of(&connection.ends.peer) }
    }

    fn attempts_now_ms(&self) -> u64 {
        self.clock.monotonic_ns / 1_000_000
    }

    /// An error, and the connection ends, if its address has failed too often.
    pub fn check_attempts(&mut self, connection: &mut Connection) -> Result<(), CommandError> {
        let (limit, now_ms) = (self.settings.attempts, self.attempts_now_ms());
        let attempts = &self.shared.access.attempts;
        let Some(rest_ms) = attempts.refuses(|| Self::origin_of(connection), limit, now_ms) else { return Ok(()) };
        if connection.phase != Phase::Dead {
            connection.phase = Phase::Closing;
        }
        let rest_s = rest_ms.div_ceil(1000);
        Err(format!("ERR Too many failed authentications from this address: try again in {rest_s} seconds").into())
    }

    /// A connection has given a wrong password, or the name of nobody.
    pub fn note_failed_attempt(&self, connection: &Connection, denied: Denied) {
        self.note_denied(connection, denied);
        let limit = self.settings.attempts;
        let Some(origin) = Self::origin_of(connection) else { return };
        if let Some(rest_ms) = self.shared.access.attempts.note_failure(origin, limit, self.attempts_now_ms()) {
            let (count, rest_s) = (limit.failures_max, rest_ms.div_ceil(1000));
            tracing::warn!(
                "{count} authentications from {origin} have failed: none from there is heard for {rest_s} s"
            );
        }
    }
}

/// Changes.
impl Core {
    /// New users are in force. The connection with `own_id`, whose command it was, is answered before it closes.
    pub fn apply_users(&mut self, users: &Arc<Users>, own_id: u64) {
        if users.version <= self.users.version {
            return;
        }
        self.users = users.clone();
        for key in self.connection_keys() {
            self.update_access(key, own_id);
        }
    }

    /// What has become of a connection's user.
    pub(super) fn update_access(&mut self, key: ConnectionKey, own_id: u64) {
        let users = self.users.clone();
        let Some(connection) = self.connection_mut(key).filter(|connection| !connection.is_own()) else { return };
        let closes = match users.find_id(connection.session.access.user().id) {
            None => {
                connection.session.access.lose(&users);
                true
            }
            Some(user) => {
                let is_changed = !Arc::ptr_eq(user, connection.session.access.user());
                connection.session.access.replace(user, &users);
                if is_changed {
                    self.end_forbidden_wait(key);
                }
                is_changed && self.connection_mut(key).is_some_and(|connection| !may_hear_all(connection))
            }
        };
        if closes {
            let is_own = self.connection_mut(key).is_some_and(|connection| connection.id == own_id);
            if is_own { self.begin_close(key) } else { self.kill(key) }
        }
    }

    /// A connection may wait for what it may no longer do.
    fn end_forbidden_wait(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection_mut(key).filter(|connection| !connection.session.access.is_free())
        else {
            return;
        };
        let (Some(number), user) = (connection.blocked_on, connection.session.access.user().clone()) else { return };
        let Some((entry, arguments, database)) = self.what_waits(number) else { return };
        let arguments = arguments.slices();
        let requested = Requested { entry, arguments: &arguments, database };
        let Err(denial) = user.check(&requested) else { return };
        if !self.end_wait_of_number(number, Over::Denied(refusal_while_waiting(denial))) {
            return;
        }
        let denied = Denied::of(denial, &requested, Context::TopLevel, &user);
        self.tell_denials(key, &[denied]);
        let calls = &mut self.counters.calls;
        // What it took until it waited is told of no call.
        let (count, took_ns) = (calls.calls[entry.id], calls.took_ns[entry.id]);
        calls.took_ns[entry.id] -= took_ns.checked_div(count).unwrap_or(0);
        calls.calls[entry.id] = count.saturating_sub(1);
        calls.rejected[entry.id] += 1;
        self.counters.errors.count(b"NOPERM");
    }

    /// Those who log in: what a connection's user is from now on.
    pub fn log_in(&self, connection: &mut Connection, user: Arc<User>) {
        connection.session.access.log_in(user, &self.users);
    }

    /// A connection begins anew.
    pub fn new_access(&self) -> Access {
        Access::new(&self.users)
    }
}

/// Whether a connection may hear all that it has subscribed to.
fn may_hear_all(connection: &Connection) -> bool {
    let Some(interests) = connection.interests.as_ref().filter(|interests| interests.is_subscriber()) else {
        return true;
    };
    let user = connection.session.access.user();
    let may_hear = |topic| {
        let is_pattern = topic == Topic::Pattern;
        interests.listed(topic).iter().all(|name| user.may_hear(name, is_pattern))
    };
    matches!(connection.phase, Phase::Dead)
        || [Topic::Pattern, Topic::Channel, Topic::ShardChannel].into_iter().all(may_hear)
}
