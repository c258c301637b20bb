//! From bytes to the place where a command runs.
//!
//! ```text
//!   bytes -> parse ahead (a group of commands; their keys are hashed and their pages prefetched)
//!         -> lookup, arity, authentication
//!         -> session command: here and now
//!         -> no key, one key, all keys on one shard: its owner
//!              ours:    run inline, unless order or a lock says otherwise (`run_here`)
//!              theirs:  into the open batch to that shard (`send_to`)
//!         -> keys on several shards: the coordinator
//! ```

use super::batches::{OpenBatches, ShardSet};
use super::connection::{Connection, ConnectionKey, Phase, ReplyMode};
use super::gate::may_write;
use super::memory::{OUT_OF_MEMORY, Room};
use super::observe::Stopwatch;
use super::owners::Owner;
use super::session::Session;
use super::tracking::Address;
use super::unit::Captured;
use super::{Core, Waiting};
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::connection::parser::{Limits, Parsed, Parser, Span};
use crate::mailbox::{Batch, Deferred, Envelope, KnownKey, Message, PackedArguments, Request};
use smallvec::SmallVec;
use torc_engine::command::{
    CommandError, Flags, Foreseen, Handler, Spread, unknown_command, unknown_subcommand, wrong_arity,
};
use torc_engine::commands::blocking::Wait;
use torc_engine::keyspace::{Key, ScanCursor, slot_of};
use torc_engine::reply::Reply;
use torc_engine::transaction::inbox::Node;

/// Commands parsed ahead so that their pages are on the way when they run.
const LOOKAHEAD_COMMANDS: usize = 32;
/// A client that has sent much at once lets others go on when the turn has taken so long.
const TURN_US_MAX: i64 = 1500;
/// Spans kept allocated from one group to the next; more go back after use.
const SPANS_KEPT_MAX: usize = 4096;
/// A batch this full is pushed before the turn ends.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Scratch of the parse-ahead; one a shard.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    spans: Vec<Span>,
    commands: Vec<Ahead>,
}

impl Lookahead {
    /// Gives back what a command of very many arguments has made it take.
    fn give_back(&mut self) {
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans = Vec::new();
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ahead {
    first_span: usize,
    span_count: usize,
    /// Bytes of the input consumed when this command has run.
    end: usize,
    entry: Option<&'static CommandEntry>,
    /// Slot and hash of the only key.
    key: Option<(u16, u64)>,
    /// The command before has the same only key, which is on its way already.
    is_repeated: bool,
}

/// What stopped the parse-ahead.
enum Stop {
    Full,
    Incomplete(usize),
    Error(Vec<u8>),
    /// An inline command with quotes: its arguments are the parser's own.
    Unquoted(usize),
}

/// How the input goes on after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    /// Not run: no credit. It is parsed again later.
    NotRun,
}

impl Core {
    /// Bytes arrived from a client.
    pub fn received(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let Some(mut connection) = self.take_connection(key) else { return };
        if connection.transport.is_plain() {
            self.run_received(&mut connection, bytes);
        } else {
            self.received_otherwise(&mut connection, bytes);
        }
        self.put_connection(connection);
    }

    /// Bytes that the client means as they are.
    #[inline]
    pub(super) fn run_received(&mut self, connection: &mut Connection, bytes: &[u8]) {
        connection.figures.received_bytes += bytes.len() as u64;
        if connection.figures.active_ns != self.clock.monotonic_ns {
            connection.turn_bytes = 0;
        }
        self.pace.received(connection.figures.active_ns);
        connection.figures.active_ns = self.clock.monotonic_ns;
        self.counters.received_bytes += bytes.len() as u64;
        self.counters.reads += 1;
        self.run_input_of(connection, bytes);
    }

    /// A connection that had stopped reading may go on.
    pub(super) fn resume(&mut self, key: ConnectionKey) {
        let Some(mut connection) = self.take_connection(key) else { return };
        connection.go_on();
        self.run_input_of(&mut connection, &[]);
        let is_over = connection.at_end && !connection.paused && !connection.transport.is_away();
        if is_over && connection.phase == Phase::Open {
            connection.phase = Phase::Closing;
        }
        self.put_connection(connection);
    }

    fn run_input_of(&mut self, connection: &mut Connection, bytes: &[u8]) {
        if connection.phase != Phase::Open || connection.paused {
            if !matches!(connection.phase, Phase::Closing | Phase::Dead) {
                connection.query_buffer.keep(bytes);
            }
        } else if connection.query_buffer.is_empty() {
            let consumed = self.run_input(connection, bytes);
            if connection.phase != Phase::Dead {
                connection.query_buffer.keep(&bytes[consumed..]);
            }
        } else {
            connection.query_buffer.keep(bytes);
            // A command that is too long is not run, whatever pieces it comes in.
            if !self.is_beyond_query_limit(connection) {
                let input = connection.query_buffer.take();
                let consumed = self.run_input(connection, &input);
                connection.query_buffer.put_back(input, consumed);
            }
        }
        if !connection.query_buffer.is_empty() {
            connection.query_buffer.announce(connection.parser.frame_bytes_known());
        }
        if self.is_beyond_query_limit(connection) {
            tracing::warn!(id = connection.id, "Closing client that reached max query buffer length");
            self.counters.query_limit_disconnections += u64::from(connection.phase != Phase::Dead);
            connection.phase = Phase::Dead;
        }
        self.mark_dirty(connection);
    }

    /// Whether a client has sent more that is not run than it may.
    #[inline]
    fn is_beyond_query_limit(&self, connection: &Connection) -> bool {
        let input_bytes = connection.query_buffer.len() + connection.transaction.bytes();
        input_bytes as u64 > self.settings.query_buffer_max && !connection.is_own()
    }

    /// Runs as many commands as the input holds and the connection may run; returns the bytes consumed.
    fn run_input(&mut self, connection: &mut Connection, input: &[u8]) -> usize {
        let mut consumed = 0;
        while connection.phase == Phase::Open && !self.should_pause(connection) {
            let mut ahead = std::mem::take(&mut self.lookahead);
            let stop = self.parse_ahead(connection, input, consumed, &mut ahead);
            self.warm(connection, input, &ahead);
            let (end, all_ran) = self.run_group(connection, input, consumed, &ahead);
            consumed = end;
            ahead.give_back();
            self.lookahead = ahead;
            if !all_ran {
                // What was parsed and not run is parsed again.
                connection.parser = Parser::default();
                break;
            }
            match stop {
                Stop::Full => {}
                Stop::Incomplete(end) => {
                    consumed = consumed.max(end);
                    break;
                }
                Stop::Unquoted(end) => {
                    let parser = std::mem::take(&mut connection.parser);
                    let arguments: SmallVec<[&[u8]; 8]> = parser.arguments(&input[consumed..]).collect();
                    let entry = self.shared.table.find(arguments[0]);
                    let mut stopwatch = self.stopwatch();
                    let out = connection.output.tail();
                    let replied_from = (out.bytes.len(), out.shared.len());
                    if self.command(connection, entry, &arguments, None) == Flow::NotRun {
                        break;
                    }
                    if self.observer.is_on {
                        self.observe_at_hand(connection, &arguments, end - consumed, replied_from, stopwatch.split());
                    }
                    consumed = end;
                }
                Stop::Error(text) => {
                    self.protocol_error(connection, &text);
                    return input.len();
                }
            }
        }
        consumed
    }

    fn protocol_error(&mut self, connection: &mut Connection, text: &[u8]) {
        let out = connection.output.tail();
        out.bytes.push(b'-');
        out.bytes.extend_from_slice(text);
        out.bytes.extend_from_slice(b"\r\n");
        self.counters.errors.count(b"ERR");
        connection.phase = Phase::Closing;
    }

    /// Too much unsent or awaited: the client has to read first.
    fn should_pause(&self, connection: &mut Connection) -> bool {
        let unsent = connection.output.ready.bytes.len() + connection.sending_bytes;
        connection.waits_for_answers &= connection.outstanding() > 0;
        let pause = unsent > self.settings.unsent_pause_bytes
            || connection.output.outstanding() >= self.settings.outstanding_max
            || !connection.runs.is_empty()
            || connection.is_waiting
            || connection.waits_for_answers
            || (!connection.output.ready.shared.is_empty()
                && connection.output_bytes() > self.settings.unsent_pause_bytes);
        connection.paused |= pause;
        connection.paused
    }

    fn parse_ahead(&mut self, connection: &mut Connection, input: &[u8], from: usize, ahead: &mut Lookahead) -> Stop {
        ahead.spans.clear();
        ahead.commands.clear();
        let authenticated = connection.session.access.is_admitted();
        let is_own = connection.is_own();
        let limits = Limits { bulk_length_max: self.settings.bulk_length_max, authenticated };
        let group = if authenticated { LOOKAHEAD_COMMANDS } else { 1 };
        let mut position = from;
        let mut last_key = None;
        while ahead.commands.len() < group {
            let frame = &input[position..];
            if frame.is_empty() {
                return Stop::Incomplete(position);
            }
            let first_span = ahead.spans.len();
            let end = match connection.parser.parse_whole(frame, position, &limits, &mut ahead.spans) {
                Some(length) => position + length,
                None => match connection.parser.parse(frame, &limits) {
                    Ok(Parsed::Command { consumed }) => {
                        let end = position + consumed;
                        let Some(spans) = connection.parser.spans() else {
                            if ahead.commands.is_empty() {
                                return Stop::Unquoted(end);
                            }
                            // The commands before it run first; it is parsed again.
                            connection.parser = Parser::default();
                            return Stop::Full;
                        };
                        let rebased = |span: &Span| Span { offset: span.offset + position, length: span.length };
                        ahead.spans.extend(spans.iter().map(rebased));
                        end
                    }
                    Ok(Parsed::Incomplete { consumed, .. }) => return Stop::Incomplete(position + consumed),
                    Err(error) => return Stop::Error(error.text().into_owned()),
                },
            };
            let arguments = &ahead.spans[first_span..];
            let (table, name) = (&self.shared.table, slice(input, arguments[0]));
            let entry = if is_own { table.find_original(name) } else { table.find(name) };
            let (span_count, last) = (arguments.len(), last_key);
            last_key = entry.and_then(|entry| self.foresee(connection, entry, input, arguments, last));
            let key = last_key.map(|(_, key)| key);
            let is_repeated = key.is_some() && key == last.map(|(_, key)| key);
            ahead.commands.push(Ahead { first_span, span_count, end, entry, key, is_repeated });
            position = end;
        }
        Stop::Full
    }

    /// Hashes the only key of a command and asks for its page. One that is that of the command before needs neither.
    #[inline]
    fn foresee(
        &self,
        connection: &Connection,
        entry: &CommandEntry,
        input: &[u8],
        arguments: &[Span],
        last: Option<(Span, (u16, u64))>,
    ) -> Option<(Span, (u16, u64))> {
        let KeyPlan::One(index) = entry.keys else { return None };
        let span = *arguments.get(index)?;
        let bytes = slice(input, span);
        if let Some((last, key)) = last
            && slice(input, last) == bytes
        {
            return Some((span, key));
        }
        let key = Key::new(bytes, &self.shared.hasher);
        if self.shared.shard_of(key.slot) == self.index {
            self.shard.keyspace.prefetch(connection.session.client.database as usize, &key);
        }
        Some((span, (key.slot, key.hash)))
    }

    /// Brings what the group's commands will look at into the caches: each stage needs what the one before it asked for,
    /// and by the time it is asked the memory has had a group's length to answer.
    fn warm(&self, connection: &Connection, input: &[u8], ahead: &Lookahead) {
        if ahead.commands.len() < 2 {
            return;
        }
        let database = connection.session.client.database as usize;
        let keys = ahead.commands.iter().filter(|command| !command.is_repeated).filter_map(|command| command.key);
        let ours = keys.filter(|(slot, _)| self.shared.shard_of(*slot) == self.index);
        self.warm_keys(ours.map(|(slot, hash)| (database, slot, hash)));
        let values = ahead.commands.iter().filter_map(|command| {
            let (entry, (slot, hash)) = (command.entry?, command.key?);
            let KeyPlan::One(key) = entry.keys else { return None };
            if command.is_repeated && entry.spec.foreseen == Foreseen::Value {
                return None;
            }
            let spans = &ahead.spans[command.first_span..command.first_span + command.span_count];
            let argument = |index: usize| spans.get(index).map(|span| slice(input, *span));
            let element = entry.spec.foreseen.element(argument)?;
            Some((database, Key { bytes: argument(key)?, slot, hash }, element))
        });
        let mut ours = values.filter(|(_, key, _)| self.shared.shard_of(key.slot) == self.index).peekable();
        if ours.peek().is_some() {
            self.shard.keyspace.prefetch_values(ours);
        }
    }

    /// The stages of [`torc_engine::keyspace::Keyspace::prefetch`] behind the first, each over all keys.
    pub(super) fn warm_keys(&self, keys: impl Iterator<Item = (usize, u16, u64)> + Clone) {
        let keyspace = &self.shard.keyspace;
        let key = |slot, hash| Key { bytes: &[], slot, hash };
        keys.clone().for_each(|(database, slot, hash)| keyspace.prefetch_directory(database, &key(slot, hash)));
        keys.clone().for_each(|(database, slot, hash)| keyspace.prefetch_page(database, &key(slot, hash)));
        keys.for_each(|(database, slot, hash)| keyspace.prefetch_entry(database, &key(slot, hash)));
    }

    /// Runs the parsed group; false if it had to stop before its end.
    fn run_group(
        &mut self,
        connection: &mut Connection,
        input: &[u8],
        from: usize,
        ahead: &Lookahead,
    ) -> (usize, bool) {
        let mut stopwatch = self.stopwatch();
        let stopped = self.run_commands(connection, input, from, ahead, &mut stopwatch);
        if let (false, Some(last)) = (self.observer.is_on, connection.figures.last_command) {
            self.lap(&mut stopwatch, last.id);
        }
        stopped
    }

    fn run_commands(
        &mut self,
        connection: &mut Connection,
        input: &[u8],
        from: usize,
        ahead: &Lookahead,
        stopwatch: &mut Stopwatch,
    ) -> (usize, bool) {
        let mut consumed = from;
        let looks_at_each = self.observer.is_on;
        for (index, command) in ahead.commands.iter().enumerate() {
            if index > 0
                && !looks_at_each
                && command.entry.map(|entry| entry.id) != ahead.commands[index - 1].entry.map(|entry| entry.id)
                && let Some(last) = connection.figures.last_command
            {
                self.lap(stopwatch, last.id);
            }
            let spans = &ahead.spans[command.first_span..command.first_span + command.span_count];
            // Filled where it stands: collected, it would be moved.
            let mut arguments = SmallVec::<[&[u8]; 8]>::new();
            arguments.extend(spans.iter().map(|span| slice(input, *span)));
            if connection.phase != Phase::Open || self.should_pause(connection) {
                return (consumed, false);
            }
            let out = connection.output.tail();
            let replied_from = (out.bytes.len(), out.shared.len());
            if self.command(connection, command.entry, &arguments, command.key) == Flow::NotRun {
                return (consumed, false);
            }
            if looks_at_each {
                let (request_bytes, took_ns) = (command.end - consumed, stopwatch.split());
                self.observe_at_hand(connection, &arguments, request_bytes, replied_from, took_ns);
            }
            connection.turn_bytes += command.end - consumed;
            consumed = command.end;
            if connection.turn_bytes >= self.settings.turn_bytes_min && self.yields(connection) {
                return (consumed, false);
            }
        }
        (consumed, true)
    }

    /// A client that has sent much at once lets the others have their turn when its own has taken long.
    #[cold]
    fn yields(&mut self, connection: &mut Connection) -> bool {
        let took_us = self.wall_us() - self.clock.wall_ms.saturating_mul(1000);
        if took_us < TURN_US_MAX && connection.turn_bytes < self.settings.turn_bytes_max {
            return false;
        }
        if !connection.paused {
            connection.paused = true;
            connection.is_next_turn = true;
            self.resumable.push(connection.key);
        }
        true
    }

    /// One command: checks, then to the place where it runs.
    fn command(
        &mut self,
        connection: &mut Connection,
        entry: Option<&'static CommandEntry>,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
    ) -> Flow {
        let flow = if connection.session.reply_mode == ReplyMode::On {
            self.checked(connection, entry, arguments, key)
        } else {
            self.command_quietly(connection, entry, arguments)
        };
        if self.shard.keyspace.journal.has_events() || self.shard.keyspace.has_changes() || self.pubsub.has_held() {
            self.tell_behind(connection);
        }
        flow
    }

    #[inline]
    fn checked(
        &mut self,
        connection: &mut Connection,
        entry: Option<&'static CommandEntry>,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
    ) -> Flow {
        match self.check(connection, entry, arguments) {
            Ok(entry) => {
                let before = connection.figures.commands;
                let is_script = entry.is_script;
                let flow = if connection.transaction.is_open() {
                    self.in_multi(connection, entry, arguments, key)
                } else {
                    self.route(connection, entry, arguments, key)
                };
                let is_shown_later = std::mem::take(&mut self.shows_later);
                if self.pubsub.is_monitored
                    && connection.figures.commands != before
                    && !is_shown_later
                    && !connection.is_own()
                {
                    self.monitor(connection, entry, arguments);
                }
                if is_script {
                    self.tell_script_lines();
                    self.tell_own_script_denials(connection);
                }
                flow
            }
            Err(error) => {
                let subcommand = |entry: &'static CommandEntry| match arguments.get(1) {
                    Some(name) if !entry.subcommands.is_empty() => entry.subcommand(name),
                    _ => Some(entry),
                };
                self.reject(connection, entry.and_then(subcommand), &error);
                Flow::Next
            }
        }
    }

    /// CLIENT REPLY OFF or SKIP: what runs here is encoded and cut off again; what runs elsewhere fills a place that
    /// is not sent.
    fn command_quietly(
        &mut self,
        connection: &mut Connection,
        entry: Option<&'static CommandEntry>,
        arguments: &[&[u8]],
    ) -> Flow {
        if connection.session.reply_mode == ReplyMode::SkipNext {
            connection.session.reply_mode = ReplyMode::SkipThis;
        }
        let places = connection.output.outstanding();
        let tail = connection.output.tail();
        let (bytes, shared) = (tail.bytes.len(), tail.shared.len());
        let flow = self.checked(connection, entry, arguments, None);
        // CLIENT REPLY ON answers OK: it has switched the mode, so its reply stays. What SUBSCRIBE answers is a push.
        let is_push = entry.is_some_and(CommandEntry::answers_by_pushes);
        let stays = connection.session.reply_mode == ReplyMode::On || is_push;
        if !stays && connection.output.outstanding() == places {
            let tail = connection.output.tail();
            tail.bytes.truncate(bytes);
            tail.shared.truncate(shared);
        }
        if connection.session.reply_mode == ReplyMode::SkipThis && flow == Flow::Next {
            connection.session.reply_mode = ReplyMode::On;
        }
        flow
    }

    pub(super) fn fail(&mut self, connection: &mut Connection, CommandError(text): &CommandError) {
        self.counters.errors.count(text);
        Reply::new(connection.output.tail(), connection.session.client.protocol).error_bytes(text);
    }

    /// Name, subcommand, arity, what its user may do.
    fn check(
        &mut self,
        connection: &mut Connection,
        entry: Option<&'static CommandEntry>,
        arguments: &[&[u8]],
    ) -> Result<&'static CommandEntry, CommandError> {
        let Some(mut entry) = entry else {
            return Err(unknown_command(arguments));
        };
        if !entry.subcommands.is_empty() && arguments.len() > 1 {
            match entry.subcommand(arguments[1]) {
                Some(subcommand) => entry = subcommand,
                None => return Err(unknown_subcommand(entry.spec, arguments[1])),
            }
        }
        if !entry.spec.arity.accepts(arguments.len()) {
            return Err(wrong_arity(&entry.full_name, None));
        }
        if !connection.session.access.is_free() {
            self.check_access(connection, entry, arguments)?;
        }
        if connection.interests.is_some() {
            check_listener(connection, entry)?;
        }
        Ok(entry)
    }

    pub(super) fn route(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
    ) -> Flow {
        if let Some(flow) = self.held_up(connection, entry, arguments) {
            return flow;
        }
        let handler = match entry.target {
            Target::Engine(handler) => handler,
            Target::Session(handler) => {
                self.count(connection, entry);
                let mut session = Session { core: self, connection, entry };
                if let Err(error) = handler(&mut session, arguments) {
                    self.counters.calls.failed[entry.id] += 1;
                    self.fail(connection, &error);
                }
                return Flow::Next;
            }
        };
        if entry.may_wait && (entry.spec.group != "stream" || Wait::of(entry.spec.name, arguments).is_some()) {
            return self.begin_wait(connection, entry, arguments);
        }
        if let Some(flow) = self.begins_as_unit(connection, entry, arguments) {
            return flow;
        }
        let database = connection.session.client.database as usize;
        let Some(owner) = self.owner_of(entry, arguments, key, database) else {
            return self.start_on_several(connection, entry, arguments);
        };
        if owner == self.index {
            self.count(connection, entry);
            self.run_here(connection, entry, handler, arguments, key);
        } else if self.in_flight_bytes[owner] > self.settings.in_flight_bytes_max {
            connection.paused = true;
            self.starved.push(connection.key);
            return Flow::NotRun;
        } else {
            self.count(connection, entry);
            self.send_to(owner, connection, entry, arguments, key);
        }
        connection.waits_for_answers |= connection.outstanding() > 0 && self.looks_behind(entry, arguments);
        if self.shared.shards() > 1 {
            self.follow_keys(connection, owner);
        }
        Flow::Next
    }

    /// Whether a command that has not been answered may yet see what its connection would send now: a script may be begun
    /// again, and the only shard looks for keys that values name when a SORT runs, not where it stands in the lines.
    fn looks_behind(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> bool {
        if self.shared.shards() > 1 { entry.is_script } else { entry.discovery(arguments).is_some() }
    }

    /// The one shard that a command is for, if there is one.
    #[inline]
    fn owner_of(
        &self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
        database: usize,
    ) -> Option<usize> {
        match entry.keys {
            KeyPlan::One(index) => {
                Some(self.shared.shard_of(key.map_or_else(|| slot_of(arguments[index]), |(slot, _)| slot)))
            }
            // It waits for files where the only shard answers, too.
            KeyPlan::None if entry.spec.spread == Spread::AllShardsOkOnDisk => None,
            KeyPlan::None => self.owner_without_keys(entry, arguments, database),
            KeyPlan::Many => self.owner_of_keys(entry, arguments),
        }
    }

    /// A command that several shards have to do with.
    fn start_on_several(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) -> Flow {
        let has_keys = entry.keys != KeyPlan::None;
        let takes_all =
            if has_keys { entry.discovery(arguments).is_some() } else { entry.spec.spread.is_on_all_shards() };
        if takes_all && self.waits_for_units(connection) {
            return Flow::NotRun;
        }
        self.count(connection, entry);
        if has_keys {
            self.start_spread(connection, entry, arguments);
        } else {
            self.start_on_all(connection, entry, arguments);
        }
        Flow::Next
    }

    /// What keeps a command from running now, if anything does.
    #[inline]
    fn held_up(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) -> Option<Flow> {
        if connection.is_own() {
            return None;
        }
        if !self.gate.is_open()
            && let Some(refusal) = self.refused_at_gate(connection, entry)
        {
            self.counters.calls.rejected[entry.id] += 1;
            self.fail(connection, &refusal);
            return Some(Flow::Next);
        }
        if entry.takes_memory
            && let Some(flow) = self.without_room(connection)
        {
            self.counters.calls.rejected[entry.id] += u64::from(flow == Flow::Next);
            return Some(flow);
        }
        let is_about_messages = entry.spec.flags.has(Flags::PUBSUB);
        if self.waits_for_pause(connection, |core| core.may_write(entry, arguments))
            || (is_about_messages && self.waits_for_messages(connection, entry))
            || self.waits_for_evictions(connection)
        {
            return Some(Flow::NotRun);
        }
        if let Some(busy) = self.busy_with_script(entry).or_else(|| self.busy_elsewhere(entry, arguments)) {
            self.counters.calls.rejected[entry.id] += 1;
            self.fail(connection, &busy.into());
            return Some(Flow::Next);
        }
        None
    }

    /// Why no command of this kind runs now, if none does.
    #[cold]
    pub(super) fn refused_at_gate(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
    ) -> Option<CommandError> {
        if let Some(refusal) = self.gate.refusal(entry) {
            return Some(refusal.into());
        }
        let may_write = may_write(entry) || (entry.spec.name == "exec" && connection.transaction.may_write());
        if self.gate.refuses_unlogged(may_write) {
            return Some(self.shared.append_log.refusal().into());
        }
        connection.has_written |= may_write && self.gate.is_awaited();
        None
    }

    /// Whether a command of publish and subscribe has to wait.
    fn waits_for_messages(&mut self, connection: &mut Connection, entry: &CommandEntry) -> bool {
        // What the connection has published before may be waiting in our inbox.
        let is_ahead = connection.outstanding_here > 0 && entry.answers_by_pushes();
        let is_much = entry.keeps_order && self.is_behind_with_notices();
        if is_much {
            self.starved.push(connection.key);
        }
        connection.paused |= is_ahead || is_much;
        is_ahead || is_much
    }

    /// Makes room for a command that takes memory; where there is none, how the input goes on.
    #[inline]
    pub(super) fn without_room(&mut self, connection: &mut Connection) -> Option<Flow> {
        match self.room() {
            Room::Enough => None,
            Room::Soon => {
                connection.paused = true;
                self.wait_for_memory(connection.key);
                Some(Flow::NotRun)
            }
            Room::None => {
                self.fail(connection, &CommandError(OUT_OF_MEMORY.into()));
                Some(Flow::Next)
            }
        }
    }

    /// A command of the engine on behalf of a session command, which has been counted: to the owner of its keys, whatever
    /// is under way there.
    pub(super) fn forward(&mut self, connection: &mut Connection, entry: &'static CommandEntry, arguments: &[&[u8]]) {
        let Target::Engine(handler) = entry.target else { return };
        if let Some(captured) = &mut self.capture {
            *captured = Captured::Command(entry, PackedArguments::new(arguments));
            return;
        }
        let owner = match entry.keys {
            // What a shard answers is no reply yet, also where it is the only one.
            KeyPlan::None if entry.spec.spread.is_on_all_shards() => {
                return self.start_on_all(connection, entry, arguments);
            }
            KeyPlan::One(index) => Some(self.shared.shard_of(slot_of(arguments[index]))),
            KeyPlan::None => Some(self.index),
            KeyPlan::Many => self.owner_of_keys(entry, arguments),
        };
        match owner {
            Some(owner) if owner == self.index => self.run_here(connection, entry, handler, arguments, None),
            Some(owner) => self.send_to(owner, connection, entry, arguments, None),
            None => self.start_spread(connection, entry, arguments),
        }
        // What is not in the table is not observed where it runs.
        self.observer.runs_here = connection.figures.last_command;
    }

    #[inline]
    pub(super) fn count(&mut self, connection: &mut Connection, entry: &'static CommandEntry) {
        self.counters.commands += 1;
        self.counters.calls.calls[entry.id] += 1;
        connection.figures.commands += 1;
        if connection.interests.is_some() {
            self.decide_tracking(connection, entry);
        }
        connection.figures.last_command = Some(entry);
        self.observer.runs_here = Some(entry);
        self.begins(entry);
    }

    /// A connection goes to the shard that most of its commands go to.
    pub(super) fn follow_keys(&mut self, connection: &mut Connection, owner: usize) {
        let (home, shards, window) = (self.index, self.shared.shards(), self.settings.affinity_window_commands);
        if !connection.is_own()
            && let Some(target) = connection.affinity.count(owner, home, shards, window)
            && connection.phase == Phase::Open
            && connection.interests.is_none()
        {
            connection.phase = Phase::Moving(target);
        }
    }

    /// Where a command without keys runs; none means on all shards.
    pub(super) fn owner_without_keys(
        &self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        database: usize,
    ) -> Option<usize> {
        if self.shared.shards() == 1 {
            return Some(self.index);
        }
        match entry.spec.spread {
            spread if spread.is_on_all_shards() => None,
            Spread::Walk if entry.spec.name == "scan" && !self.is_scan_of_few(arguments, database) => {
                let cursor = arguments.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
                let slot = cursor.map(|cursor| ScanCursor::from_u64(cursor).slot());
                Some(slot.map_or(self.index, |slot| self.shared.shard_of(slot)))
            }
            Spread::Walk => None,
            _ => Some(self.index),
        }
    }

    /// The one shard that owns all keys; none if there are several. Arguments that do not fit the key specs stay here:
    /// the handler gives the error. Keys that are not known yet may be anywhere.
    pub(super) fn owner_of_keys(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> Option<usize> {
        if self.shared.shards() == 1 {
            return Some(self.index);
        }
        match self.shared.owner_of_keys(entry, arguments) {
            Owner::One(owner) => Some(owner),
            Owner::Several => None,
            Owner::Nobody => Some(self.index),
        }
    }

    /// A command whose keys are ours. It runs inline unless the connection's order forbids it (something of it is
    /// under way: then it goes through our own inbox, behind whatever was pushed before) or a lock does (then it waits
    /// in that key's line).
    fn run_here(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        handler: Handler,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
    ) {
        let in_order = !self.rules().gate
            || (connection.outstanding_here == 0 && (!entry.keeps_order || connection.outstanding_elsewhere == 0));
        if !in_order {
            return self.send_to(self.index, connection, entry, arguments, key);
        }
        self.about_to_run(entry);
        if !self.schedule.is_idle() {
            self.learn_time();
            let claim = self.claim_of(entry, arguments);
            if !self.schedule.may_run(&claim) {
                let request = Self::expect_reply(connection, entry, true);
                let arguments = PackedArguments::new(arguments);
                let deferred = Deferred { origin: self.index, now: self.shard.now(), request, arguments };
                // Its turn may come between the question and now (another shard sets a flag), but its reply finds the
                // connection only when that is back in its place.
                self.observer.runs_here = None;
                return self.schedule.queue(claim, Waiting::Command(Box::new(deferred)));
            }
        }
        let now = self.shard.now();
        self.prepare_script(entry, connection.session.client, connection.session.access.user_to_ask());
        let (client, out) = (connection.session.client, connection.output.tail());
        let (before, errors) = ((out.bytes.len(), out.shared.len()), self.shard.errors().total());
        let unfinished = match (key, entry.keys) {
            (Some((slot, hash)), KeyPlan::One(index)) => {
                let key = Key { bytes: arguments[index], slot, hash };
                self.shard.begin_hashed(handler, arguments, &key, client, now, out)
            }
            _ => self.shard.begin(handler, arguments, client, now, out),
        };
        if client.tracks && entry.is_script {
            self.remember_script_reads(Address { shard: self.index as u32, connection: connection.key });
        }
        if entry.is_script
            && let Some(missed) = self.scripting.missed.take()
        {
            return self.begin_script_unit(connection, entry, arguments, missed.shards);
        }
        if entry.is_script {
            connection.figures.commands += self.scripting.commands_run.take();
        }
        self.note_failure(entry, errors);
        if client.tracks {
            let reader = Address { shard: self.index as u32, connection: connection.key };
            self.remember(entry, arguments, reader);
        }
        if let Some(unfinished) = unfinished {
            // The beginning of the reply is where it belongs: with nothing awaited it is ready, else behind that.
            if connection.session.reply_mode != ReplyMode::On {
                connection.output.tail().split_off(before);
            }
            self.observer.runs_here = None;
            let request = Self::expect_reply(connection, entry, true);
            self.connection_goes_on_later(connection, unfinished, request, arguments);
        }
        self.serve_ready_after(connection.key);
    }

    /// Leaves a place for the reply of a command that does not run inline.
    pub(super) fn expect_reply(connection: &mut Connection, entry: &'static CommandEntry, here: bool) -> Request {
        let discard = connection.session.reply_mode != ReplyMode::On;
        let sequence = connection.output.expect(discard);
        if here {
            connection.outstanding_here += 1;
        } else {
            connection.outstanding_elsewhere += 1;
        }
        Request {
            connection: connection.key,
            sequence,
            entry,
            client: connection.session.client,
            key: if entry.is_script { KnownKey::of_user(connection.session.access.user_to_ask()) } else { None.into() },
            here,
        }
    }

    /// Into the open batch to a shard, which may be our own.
    fn send_to(
        &mut self,
        owner: usize,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
    ) {
        if connection.open_batches_turn != self.counters.turns {
            connection.open_batches_turn = self.counters.turns;
            connection.open_batches = 0;
        }
        let others = connection.open_batches & !(1 << owner);
        if entry.keeps_order && others != 0 && self.rules().batches && !self.batches.order(others, owner) {
            self.flush_batches_to(others);
            connection.open_batches &= !others;
        }
        connection.open_batches |= 1 << owner;
        self.observer.runs_here = None;
        let mut request = Self::expect_reply(connection, entry, owner == self.index);
        if key.is_some() {
            request.key = key.into();
        }
        let mut envelope = match self.batches.take(owner) {
            Some(open) => open,
            None => self.new_batch(owner),
        };
        if let Message::Requests(batch) = &mut envelope.message {
            let before = batch.arguments.len();
            batch.add(request, arguments);
            let after = batch.arguments.len();
            self.in_flight_bytes[owner] += after - before;
            self.counters.requests_sent += u64::from(owner != self.index);
            self.batches.put(owner, envelope);
            if after > BATCH_BYTES_MAX {
                self.flush_batches_to(1 << owner);
            }
        }
    }

    /// An empty batch to a shard, in a node that has come home if there is one.
    fn new_batch(&mut self, owner: usize) -> Envelope {
        let Some(mut envelope) = self.spare_nodes.pop() else {
            return Node::new(Message::Requests(Batch::new(self.index, owner)));
        };
        let placeholder = Message::Requests(Batch::new(self.index, owner));
        if let Message::Replies(batch) = std::mem::replace(&mut envelope.message, placeholder) {
            envelope.message = Message::Requests(Batch { origin: self.index, owner, ..batch });
        }
        envelope
    }

    /// Pushes the open batches. Whether any was for ourselves.
    pub fn flush_batches(&mut self) -> bool {
        self.flush_batches_to(ShardSet::MAX >> (ShardSet::BITS as usize - self.shared.shards()))
    }

    /// Pushes these batches and what goes before them. Whether any was for ourselves.
    pub(super) fn flush_batches_to(&mut self, owners: ShardSet) -> bool {
        let mut any_here = self.push_unit_batches();
        self.tell_before_leaving();
        let (shared, now) = (self.shared.clone(), self.shard.now());
        let mut batches = std::mem::replace(&mut self.batches, OpenBatches::new(0));
        batches.take_in_order(owners, |owner, mut envelope| {
            if let Message::Requests(batch) = &mut envelope.message {
                batch.now = now;
            }
            any_here |= owner == self.index;
            self.counters.messages_sent += u64::from(owner != self.index);
            shared.mailboxes.push(owner, envelope);
            self.wake_if_asleep(owner);
        });
        self.batches = batches;
        any_here
    }
}

/// What a connection may not send that listens, or watches.
#[cold]
fn check_listener(connection: &Connection, entry: &CommandEntry) -> Result<(), CommandError> {
    if connection.is_monitor() && entry.touches_keys() {
        return Err("ERR Replica can't interact with the keyspace".into());
    }
    if connection.only_listens() && !entry.suits_listeners() {
        let after = "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        return Err(CommandError::echo("ERR Can't execute '", entry.full_name.as_bytes(), after));
    }
    Ok(())
}

#[inline]
fn slice(input: &[u8], span: Span) -> &[u8] {
    &input[span.offset..span.offset + span.length]
}
